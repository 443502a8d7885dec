"""From an OmniDeployment to the servers that host its stages."""
