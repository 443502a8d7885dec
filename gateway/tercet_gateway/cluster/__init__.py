"""The cluster as the gateway sees it: which OmniDeployments there are, and where their servers answer."""
