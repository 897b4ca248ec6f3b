"""The role that runs stages and commits what they do."""
