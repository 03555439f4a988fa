"""The course: assignments from their sources to grades. `python -m lessons.course --help`"""
