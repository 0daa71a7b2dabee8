"""Training: recipes, tasks and the engine that joins them."""

#: Recipe ``task:`` name -> "module:Class". Strings, so that reading a recipe imports no other task.
TASKS = {
    "oracle_image": "train.foundations.oracles:ImageOracleTask",
    "oracle_video": "train.foundations.oracles:VideoOracleTask",
    "oracle_audio": "train.foundations.oracles:AudioOracleTask",
    "judge_image": "train.foundations.judges:ImageJudgeTask",
    "judge_audio": "train.foundations.judges:AudioJudgeTask",
    "encoder": "train.foundations.contrast:ContrastTask",
    "language_model": "train.foundations.language_model:LanguageModelTask",
    "text_language_model": "train.foundations.text_language_model:TextLanguageModelTask",
    "text_encoders": "train.foundations.text_encoders:TextEncodersTask",
    "image_vae": "train.foundations.image_vae:ImageVaeTask",
    "image_diffusion": "train.foundations.image_diffusion:ImageDiffusionTask",
    "image_refinement": "train.foundations.image_refinement:ImageRefinementTask",
    "image_sharpening": "train.foundations.image_sharpening:ImageSharpeningTask",
    "image_critic": "train.foundations.image_critic:ImageCriticTask",
    "video_diffusion": "train.foundations.video_diffusion:VideoDiffusionTask",
    "audio_vae": "train.foundations.audio_vae:AudioVaeTask",
    "vocoder": "train.foundations.vocoder:VocoderTask",
    "audio_diffusion": "train.foundations.audio_diffusion:AudioDiffusionTask",
    "context_extension": "train.stages.context_extension:ContextExtensionTask",
    "encoding_alignment": "train.stages.encoding_alignment:EncodingAlignmentTask",
    "decoding_alignment": "train.stages.decoding_alignment:DecodingAlignmentTask",
    "joint_training": "train.stages.joint_training:JointTrainingTask",
    "instruction_tuning": "train.stages.instruction_tuning:InstructionTuningTask",
}
