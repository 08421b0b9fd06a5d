"""batch, destroy and inspect, each written once as a coroutine that awaits nothing but its driver; rollback."""
