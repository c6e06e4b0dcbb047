"""From result lines to tables, pictures and pages; and the runner that trains what a table lacks."""
