"""Geometry: triangle meshes, unions of struts, STL, OBJ and 3MF files."""
