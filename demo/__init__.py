"""Makes the demo model: data, training, evaluation. No part of the product, and the product imports none of
it.
"""
