"""Searches among the markers near each gene, as FastQTL and tensorQTL make them."""
