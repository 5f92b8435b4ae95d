"""The runtimes that an export can be made for, one module each, behind one table (`gemnet.deploy.runtimes.table`)."""
