"""Sources of the dashboards; `python -m lab.dashboards` writes them into role grafana."""
