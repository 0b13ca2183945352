"""Where lattices come from: named cells, foams, random nets, space-group orbits; and how nets are reduced."""
