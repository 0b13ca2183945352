"""Periodic frames of beams: struts as four stiffnesses and a vector, and the solvers that condense out their nodes."""
