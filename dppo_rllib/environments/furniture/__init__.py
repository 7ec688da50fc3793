"""Furniture-Bench: one-leg, lamp and round-table, on MuJoCo and on IsaacGym."""
