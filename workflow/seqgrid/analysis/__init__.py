"""From tables to statements: statistics, verdict rules, summaries. Nothing here trains or draws."""
