"""The shape of the loss around a point: curvature, sharpness, lines and planes, evidence."""
