"""What else a frame answers: strut forces, strength, conduction, thermal expansion, finite specimens."""
