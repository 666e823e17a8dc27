"""Request bodies in, response bodies out: uploads, forms, negotiation, streams and videos."""
