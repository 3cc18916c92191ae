"""What is OpenAI's under `/v1/`, whatever the route: errors, the headers of the rate limits, and a view with both."""
