"""JSON over HTTP: for the merchant's own servers, and for the checkout."""
