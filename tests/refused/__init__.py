"""Bad input, case by case: what a user might hand in, and what the one line must say."""

from tests.refused.case import Case, Desk

__all__ = ["Case", "Desk"]
