"""How large work is spread: in this process, over processes of this machine, or over a Dask cluster."""
