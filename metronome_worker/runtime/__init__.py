"""Compiled expressions and stages: values in, effects out."""
