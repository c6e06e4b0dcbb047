"""Trains the runs that a table lacks, then prints the table.  python reproduce_tables.py [--table NAME]"""

try:
    from neural_similarity.reporting.reproduce import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main()
