"""Trains the runs that a table lacks, then prints the table.  python reproduce_tables.py [--table NAME]"""

from neural_similarity.reporting.reproduce import main

if __name__ == "__main__":
    main()
