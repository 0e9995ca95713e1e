"""What a layer's activations know of inputs and targets, in bits: by bins, with added noise, and exactly where it is known."""
