"""The sum of single effects: which markers near a gene have effects of their own."""
