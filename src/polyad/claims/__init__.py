"""The papers' claims as runnable experiments: cards, runner, scoreboard."""
