"""Where the demo chat model lies, and its name. It imports nothing: processes that know no Django need it too."""

DEMO_MODEL = "generation/engine/chatdemo/checkpoint"
"""The folder, as seen from the project's; `transformers serve` knows the model by this very name."""
DEMO_SLUG = "demo-chat"
"""As tenants see it."""
