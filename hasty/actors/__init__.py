"""The actors as plain classes: their collaborators are handed to them, and none knows Ray."""
