"""The role that publishes each due tick once."""
