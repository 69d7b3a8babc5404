"""Pictures of tomograms: sections with scale bar and colour bar, figures for papers, and movies.

matplotlib draws them, through figures of their own: no pyplot, no state that two drawings share. It
is loaded when something is drawn. Lengths on the paper are in inches, on the sample in um.
"""
