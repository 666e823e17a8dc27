"""Pictures of tokens and reconstructions, for people. The command is `cvivit visualize`."""
