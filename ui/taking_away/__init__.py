"""Taking results away: screenshots, figures, movies, tables, exports, and other programs."""
