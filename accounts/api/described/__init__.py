"""What the OpenAPI description says about the operations of accounts, one file for each thing."""
