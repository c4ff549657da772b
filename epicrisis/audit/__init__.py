"""What lets anybody check us: each subject's chain, Merkle trees over all of them, signed and witnessed checkpoints."""
