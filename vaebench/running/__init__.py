"""Running cells at seeds: tasks, processes, and what a person sees of them."""
