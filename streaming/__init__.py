"""The call: motion codec, peers, signalling and playout. Imports `engine`, never the command line."""
