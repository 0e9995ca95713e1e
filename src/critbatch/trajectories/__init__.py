"""What a long trajectory of the parameters says about its own laws: noise or memory, equilibrium or a current."""
