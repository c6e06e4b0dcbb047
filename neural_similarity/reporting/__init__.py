"""From finished runs to the README: `record` collects result lines, `tables` shows them, `plots` draws metrics."""
