"""What exists: the model, the loader, the judgement, the secrets and the files themselves."""
