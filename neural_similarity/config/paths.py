"""Where the repository is."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]  # the folder that holds the package, configs/ and results/
CONFIGS = REPOSITORY / "configs"
