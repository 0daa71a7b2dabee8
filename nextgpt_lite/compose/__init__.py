"""A model folder out of parts that lie on disk: language model, tokenizer, encoder, decoders."""
