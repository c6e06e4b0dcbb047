"""What a network learned: its similarity matrices, in numbers and pictures."""
