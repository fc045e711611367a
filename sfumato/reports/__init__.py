"""Reports: pages, tables and figures made from results, never from models."""
