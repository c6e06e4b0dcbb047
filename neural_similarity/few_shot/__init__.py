"""What few-shot methods do with the features of an episode: heads and inner loops, with plain arguments."""
