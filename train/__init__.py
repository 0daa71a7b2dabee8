"""Training: recipes, tasks and the engine that joins them."""

#: Recipe ``task:`` name -> "module:Class". Strings, so that reading a recipe imports no other task.
TASKS = {
    "oracle_image": "train.foundations.classifiers.oracles:ImageOracleTask",
    "oracle_video": "train.foundations.classifiers.oracles:VideoOracleTask",
    "oracle_audio": "train.foundations.classifiers.oracles:AudioOracleTask",
    "judge_image": "train.foundations.classifiers.judges:ImageJudgeTask",
    "judge_audio": "train.foundations.classifiers.judges:AudioJudgeTask",
    "encoder": "train.foundations.encoder.contrast:ContrastTask",
    "language_model": "train.foundations.language.language_model:LanguageModelTask",
    "text_language_model": "train.foundations.language.text_language_model:TextLanguageModelTask",
    "text_encoders": "train.foundations.language.text_encoders:TextEncodersTask",
    "image_vae": "train.foundations.autoencoders.image_vae:ImageVaeTask",
    "image_diffusion": "train.foundations.diffusion.image_diffusion:ImageDiffusionTask",
    "image_refinement": "train.foundations.diffusion.image_refinement:ImageRefinementTask",
    "image_sharpening": "train.foundations.autoencoders.image_sharpening:ImageSharpeningTask",
    "image_critic": "train.foundations.classifiers.image_critic:ImageCriticTask",
    "video_diffusion": "train.foundations.diffusion.video_diffusion:VideoDiffusionTask",
    "audio_vae": "train.foundations.autoencoders.audio_vae:AudioVaeTask",
    "vocoder": "train.foundations.autoencoders.vocoder:VocoderTask",
    "audio_diffusion": "train.foundations.diffusion.audio_diffusion:AudioDiffusionTask",
    "context_extension": "train.stages.context_extension:ContextExtensionTask",
    "encoding_alignment": "train.stages.three_stages:EncodingAlignmentTask",
    "decoding_alignment": "train.stages.three_stages:DecodingAlignmentTask",
    "joint_training": "train.stages.joint_training:JointTrainingTask",
    "instruction_tuning": "train.stages.three_stages:InstructionTuningTask",
}
