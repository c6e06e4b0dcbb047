"""Ways in and out: weights by the released code's names, parity with its networks, plain exports."""
