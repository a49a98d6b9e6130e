"""The tabletop world: seeded 3-D scenes of household objects, their pictures and captions."""
