"""What is in a folder, a csv or an npz before anything runs: `python -m lib.describe PATH`.

look.py reads every image once; alike.py finds copies and near-duplicates; facts.py counts;
suggest.py writes a params file; text.py, sheet.py and report.py show all that.
"""
