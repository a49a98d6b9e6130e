"""How the mini models are trained. Nothing else imports this package."""
