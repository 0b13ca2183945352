"""What is known of networks: limits, closed forms and laws of learning, with the experiments that show them.

Modules are imported by name (`from polyad.theory.width_limits import classify`); nothing is loaded before.
"""
