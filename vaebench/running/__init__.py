"""Cells x seeds: tasks, processes, what a person sees."""
