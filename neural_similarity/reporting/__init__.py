"""From finished runs to the README: `record` their lines, `tables` of the lines, `plots` of their metrics."""
